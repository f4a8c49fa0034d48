#!/bin/sh
# Deploy an image and change nothing else: roll.sh IMAGE. The release task runs first; if it fails, or if the new tasks do
# not stay up, CloudFormation rolls back, and this exits with 1. Workflows call it.
set -eu

image=${1:?roll.sh IMAGE, best with its digest}
stack=${STACK:-amalga}
parameters=$(aws cloudformation describe-stacks --stack-name "$stack" \
    --query "Stacks[0].Parameters[?ParameterKey!='Image'].ParameterKey" --output text)

set -- "ParameterKey=Image,ParameterValue=$image"
for name in $parameters; do
    set -- "$@" "ParameterKey=$name,UsePreviousValue=true"
done
response=$(aws cloudformation update-stack --stack-name "$stack" --use-previous-template \
    --capabilities CAPABILITY_IAM --parameters "$@" 2>&1) || case $response in
    *"No updates are to be performed"*) echo "This image is already deployed."; exit 0 ;;
    *) echo "$response" >&2; exit 1 ;;
esac
if aws cloudformation wait stack-update-complete --stack-name "$stack"; then
    echo "Deployed: $image"
else
    aws cloudformation describe-stack-events --stack-name "$stack" \
        --query "StackEvents[?contains(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason] | [:10]" \
        --output table >&2
    exit 1
fi
