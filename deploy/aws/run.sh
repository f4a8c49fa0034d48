#!/bin/sh
# Runs a command of Amalga's once, as a task of its own, and shows what it says: run.sh [--as WHO] COMMAND [ARGUMENT…].
# WHO: sweeper (default: may read all and remove), examiner (reads all), release (the database's owner).
# Ends as the command ended. For what asks questions there is `aws ecs execute-command` (README.md).
set -eu

stack=${STACK:-amalga}
who=sweeper
if [ "${1:-}" = --as ]; then
    who=$2
    shift 2
fi
: "${1:?run.sh [--as WHO] COMMAND [ARGUMENT…]}"

told() {
    aws cloudformation describe-stacks --stack-name "$stack" \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue" --output text
}
cluster=$(told ClusterName)
network="awsvpcConfiguration={subnets=[$(told TaskSubnets)],securityGroups=[$(told TaskGroup)],assignPublicIp=DISABLED}"
words='"python","manage.py"'
for word in "$@"; do
    words=$words,\"$(printf %s "$word" | sed 's/[\\"]/\\&/g')\"
done

task=$(aws ecs run-task --cluster "$cluster" --task-definition "$stack-$who" --launch-type FARGATE \
    --network-configuration "$network" \
    --overrides "{\"containerOverrides\":[{\"name\":\"app\",\"command\":[$words]}]}" \
    --query 'tasks[0].taskArn' --output text)
echo "Started $task" >&2
until [ "$(aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --query 'tasks[0].lastStatus' --output text)" = STOPPED ]; do
    sleep 5
done
aws logs get-log-events --log-group-name "$(told LogGroup)" --log-stream-name "$who/app/${task##*/}" --start-from-head \
    --query 'events[].[message]' --output text || true
code=$(aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --query 'tasks[0].containers[0].exitCode' --output text)
case $code in
    None) echo "It could not be started." >&2; exit 1 ;;
    *) exit "$code" ;;
esac
