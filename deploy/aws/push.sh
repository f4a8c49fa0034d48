#!/bin/sh
# Build the image, push it to the registry of the stack, and print its name with digest for stack.sh and roll.sh:
# push.sh [BUILD ARGUMENT…]. TAG: its tag (default: the commit).
set -eu

stack=${STACK:-amalga}
here=$(dirname "$0")
tag=${TAG:-$(git -C "$here" rev-parse --short=12 HEAD)}
repository=$(aws cloudformation describe-stacks --stack-name "$stack" \
    --query "Stacks[0].Outputs[?OutputKey=='Repository'].OutputValue" --output text)

aws ecr get-login-password | docker login --username AWS --password-stdin "${repository%%/*}" >&2
docker build --tag "$repository:$tag" "$@" "$here/../.." >&2
docker push "$repository:$tag" >&2
digest=$(aws ecr describe-images --repository-name "${repository#*/}" --image-ids "imageTag=$tag" \
    --query 'imageDetails[0].imageDigest' --output text)
echo "$repository@$digest"
