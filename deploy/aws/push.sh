#!/bin/sh
# Builds the image and brings it to the stack's registry; says its name by digest, as stack.sh and roll.sh take it:
# push.sh [BUILD ARGUMENT…]. TAG: what to call it (default: the commit).
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
