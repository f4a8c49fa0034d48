#!/bin/sh
# Makes the stack, or changes it: stack.sh [PARAMETER=VALUE…]. Parameters that are not told stay as they are.
# STACK: its name, in small letters (default amalga). The region and who you are: as the AWS CLI has them.
set -eu

stack=${STACK:-amalga}
here=$(dirname "$0")
account=$(aws sts get-caller-identity --query Account --output text)
region=$(aws configure get region || true)
region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$region}}

# CloudFormation reads a template of this size from a bucket only. It holds nothing secret, but rules what we make: a bucket
# of that name in another account is not taken, however open it is.
store=amalga-templates-$account-$region
if ! aws s3api head-bucket --bucket "$store" --expected-bucket-owner "$account" 2>/dev/null; then
    aws s3 mb "s3://$store" --region "$region"
fi

set -- "$@"
if [ $# -gt 0 ]; then
    set -- --parameter-overrides "$@"
fi
aws cloudformation deploy --stack-name "$stack" --template-file "$here/amalga.yaml" \
    --s3-bucket "$store" --s3-prefix "$stack" \
    --capabilities CAPABILITY_IAM --no-fail-on-empty-changeset "$@"
aws cloudformation describe-stacks --stack-name "$stack" \
    --query 'Stacks[0].Outputs[].[OutputKey, OutputValue]' --output table
