#!/bin/sh
# Create or update the stack: stack.sh [PARAMETER=VALUE…]. Other parameters keep their values.
# STACK: its name, in lowercase (default amalga). Region and credentials: those of the AWS CLI.
set -eu

stack=${STACK:-amalga}
here=$(dirname "$0")
account=$(aws sts get-caller-identity --query Account --output text)
region=$(aws configure get region || true)
region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$region}}

# CloudFormation reads a template of this size only from a bucket. It has no secrets, but it controls what is created: a
# bucket of that name in another account is refused, even if it is public.
templates=amalga-templates-$account-$region
if ! aws s3api head-bucket --bucket "$templates" --expected-bucket-owner "$account" 2>/dev/null; then
    aws s3 mb "s3://$templates" --region "$region"
fi

set -- "$@"
if [ $# -gt 0 ]; then
    set -- --parameter-overrides "$@"
fi
aws cloudformation deploy --stack-name "$stack" --template-file "$here/amalga.yaml" \
    --s3-bucket "$templates" --s3-prefix "$stack" \
    --capabilities CAPABILITY_IAM --no-fail-on-empty-changeset "$@"
aws cloudformation describe-stacks --stack-name "$stack" \
    --query 'Stacks[0].Outputs[].[OutputKey, OutputValue]' --output table
