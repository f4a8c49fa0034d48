#!/bin/sh
# Run a command of Amalga once, in a separate task, and print its output: run.sh [--as ROLE] COMMAND [ARGUMENT…].
# ROLE: sweeper (default: can read and delete everything), examiner (can read everything), release (the database owner).
# Exits with the status of the command. For interactive commands use inside.sh (README.md).
set -eu

stack=${STACK:-amalga}
role=sweeper
if [ "${1:-}" = --as ]; then
    role=$2
    shift 2
fi
: "${1:?run.sh [--as ROLE] COMMAND [ARGUMENT…]}"

stack_output() {
    aws cloudformation describe-stacks --stack-name "$stack" \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue" --output text
}
cluster=$(stack_output ClusterName)
network="awsvpcConfiguration={subnets=[$(stack_output TaskSubnets)],securityGroups=[$(stack_output TaskGroup)],assignPublicIp=DISABLED}"
command='"python","manage.py"'
for argument in "$@"; do
    command=$command,\"$(printf %s "$argument" | sed 's/[\\"]/\\&/g')\"
done

task=$(aws ecs run-task --cluster "$cluster" --task-definition "$stack-$role" --launch-type FARGATE \
    --network-configuration "$network" \
    --overrides "{\"containerOverrides\":[{\"name\":\"app\",\"command\":[$command]}]}" \
    --query 'tasks[0].taskArn' --output text)
echo "Started $task" >&2
until [ "$(aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --query 'tasks[0].lastStatus' --output text)" = STOPPED ]; do
    sleep 5
done
aws logs get-log-events --log-group-name "$(stack_output LogGroup)" --log-stream-name "$role/app/${task##*/}" --start-from-head \
    --query 'events[].[message]' --output text || true
code=$(aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --query 'tasks[0].containers[0].exitCode' --output text)
case $code in
    None) echo "The task could not be started." >&2; exit 1 ;;
    *) exit "$code" ;;
esac
