#!/bin/sh
# Run an interactive command in a running web task: inside.sh COMMAND [ARGUMENT…]. This replaces SSH: the session uses
# ECS Exec, is authorized by IAM, and is recorded in CloudTrail. It needs the session-manager-plugin of the AWS CLI.
set -eu

stack=${STACK:-amalga}
: "${1:?inside.sh COMMAND [ARGUMENT…], such as: inside.sh python manage.py doctor}"

stack_output() {
    aws cloudformation describe-stacks --stack-name "$stack" \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue" --output text
}
cluster=$(stack_output ClusterName)
task=$(aws ecs list-tasks --cluster "$cluster" --service-name "$(stack_output WebService)" --desired-status RUNNING \
    --query 'taskArns[0]' --output text)
exec aws ecs execute-command --cluster "$cluster" --task "$task" --container app --interactive --command "$*"
