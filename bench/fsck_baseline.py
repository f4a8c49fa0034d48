"""List a bucket and do nothing else, with obstore or by boto3: `python -m bench.fsck_baseline obstore PREFIX`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    client, prefix = sys.argv[1:]
    print({"obstore": by_obstore, "boto3": by_boto3}[client](prefix))


def by_obstore(prefix: str) -> int:
    from obstore.store import S3Store

    store = S3Store(
        os.environ["AWS_STORAGE_BUCKET_NAME"],
        endpoint=os.environ["AWS_ENDPOINT_URL_S3"],
        region="us-east-1",
        client_options={"allow_http": True},
    )
    return sum(len(page) for page in store.list(prefix.rstrip("/"), chunk_size=1000))


def by_boto3(prefix: str) -> int:
    import boto3

    s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"], region_name="us-east-1")
    pages = s3.get_paginator("list_objects_v2")
    result_pages = pages.paginate(Bucket=os.environ["AWS_STORAGE_BUCKET_NAME"], Prefix=prefix)
    return sum(len(page.get("Contents", [])) for page in result_pages)


if __name__ == "__main__":
    main()
