#!/bin/sh
# Runs a command within a web task that is at work, for what asks questions: inside.sh COMMAND [ARGUMENT…]. Takes the place
# of SSH: the session goes by AWS's own channel, is allowed by IAM, and stands in CloudTrail. Needs the CLI's
# session-manager-plugin.
set -eu

stack=${STACK:-amalga}
: "${1:?inside.sh COMMAND [ARGUMENT…], such as: inside.sh python manage.py doctor}"

told() {
    aws cloudformation describe-stacks --stack-name "$stack" \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue" --output text
}
cluster=$(told ClusterName)
task=$(aws ecs list-tasks --cluster "$cluster" --service-name "$(told WebService)" --desired-status RUNNING \
    --query 'taskArns[0]' --output text)
exec aws ecs execute-command --cluster "$cluster" --task "$task" --container app --interactive --command "$*"
