#!/bin/sh
# Begins a stack with the bucket that an earlier one left: take-over.sh BUCKET. Then stack.sh makes the rest about it, best
# with DatabaseSnapshot=…, so that the files find their names. Nothing in the bucket is touched.
set -eu

bucket=${1:?take-over.sh BUCKET}
stack=${STACK:-amalga}
template='{"Resources": {"Bucket": {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}}}'
taken="[{\"ResourceType\": \"AWS::S3::Bucket\", \"LogicalResourceId\": \"Bucket\", \"ResourceIdentifier\": {\"BucketName\": \"$bucket\"}}]"

aws cloudformation create-change-set --stack-name "$stack" --change-set-name take-over --change-set-type IMPORT \
    --resources-to-import "$taken" --template-body "$template" --query Id --output text
aws cloudformation wait change-set-create-complete --stack-name "$stack" --change-set-name take-over
aws cloudformation execute-change-set --stack-name "$stack" --change-set-name take-over
aws cloudformation wait stack-import-complete --stack-name "$stack"
