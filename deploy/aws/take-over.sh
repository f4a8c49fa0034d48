#!/bin/sh
# Create a stack with the bucket of an earlier stack: take-over.sh BUCKET. Then stack.sh creates the rest, best with
# DatabaseSnapshot=…, so that the rows of its files are there. Nothing in the bucket is changed.
set -eu

bucket=${1:?take-over.sh BUCKET}
stack=${STACK:-amalga}
template='{"Resources": {"Bucket": {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}}}'
resources="[{\"ResourceType\": \"AWS::S3::Bucket\", \"LogicalResourceId\": \"Bucket\", \"ResourceIdentifier\": {\"BucketName\": \"$bucket\"}}]"

aws cloudformation create-change-set --stack-name "$stack" --change-set-name take-over --change-set-type IMPORT \
    --resources-to-import "$resources" --template-body "$template" --query Id --output text
aws cloudformation wait change-set-create-complete --stack-name "$stack" --change-set-name take-over
aws cloudformation execute-change-set --stack-name "$stack" --change-set-name take-over
aws cloudformation wait stack-import-complete --stack-name "$stack"
