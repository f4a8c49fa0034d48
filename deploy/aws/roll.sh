#!/bin/sh
# Brings an image into service, and changes nothing else: roll.sh IMAGE. The release runs first; when it fails, or the new
# tasks do not stay up, CloudFormation brings back what was there, and this ends with 1. What a workflow calls.
set -eu

image=${1:?roll.sh IMAGE, best with its digest}
stack=${STACK:-amalga}
kept=$(aws cloudformation describe-stacks --stack-name "$stack" \
    --query "Stacks[0].Parameters[?ParameterKey!='Image'].ParameterKey" --output text)

set -- "ParameterKey=Image,ParameterValue=$image"
for name in $kept; do
    set -- "$@" "ParameterKey=$name,UsePreviousValue=true"
done
answer=$(aws cloudformation update-stack --stack-name "$stack" --use-previous-template \
    --capabilities CAPABILITY_IAM --parameters "$@" 2>&1) || case $answer in
    *"No updates are to be performed"*) echo "This image is in service already."; exit 0 ;;
    *) echo "$answer" >&2; exit 1 ;;
esac
if aws cloudformation wait stack-update-complete --stack-name "$stack"; then
    echo "In service: $image"
else
    aws cloudformation describe-stack-events --stack-name "$stack" \
        --query "StackEvents[?contains(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason] | [:10]" \
        --output table >&2
    exit 1
fi
