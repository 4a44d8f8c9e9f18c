"""What an S3 bucket has, by boto3, a client of other people.

  archive.py ENDPOINT REGION BUCKET FOLDER   downloads every object into FOLDER, numbered from 0 in the order of their
                                             keys, and prints a list of {key, bytes, sha256}, as JSON
"""

import hashlib
import json
import os
import sys

import boto3
from botocore.config import Config

endpoint, region, bucket, folder = sys.argv[1:]
# Nothing but this server is asked, whatever the environment says.
s3 = boto3.client(
    "s3",
    endpoint_url=endpoint,
    region_name=region,
    aws_access_key_id="test",
    aws_secret_access_key="test",
    config=Config(s3={"addressing_style": "path"}, proxies={}),
)
found = []
for number, about in enumerate(s3.list_objects_v2(Bucket=bucket).get("Contents", [])):
    path = os.path.join(folder, str(number))
    s3.download_file(bucket, about["Key"], path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    found.append({"key": about["Key"], "bytes": about["Size"], "sha256": digest})
print(json.dumps(found))
