# SPDX-License-Identifier: GPL-3.0-or-later
"""The bucket of the simulated site, as its owner sees it."""

import boto3
from botocore.config import Config


class Bucket:
    """The objects of one bucket, in the order of its arguments in plugstack.conf."""

    def __init__(
        self, access_key_id: str, secret_access_key: str, endpoint: str, bucket: str, region: str
    ) -> None:
        self._bucket = bucket
        self._s3 = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            config=Config(s3={"addressing_style": "path"}, proxies={"http": None}),
        )

    def keys(self) -> list[str]:
        """Return the names of all objects."""
        listed = self._s3.list_objects_v2(Bucket=self._bucket)
        return [one["Key"] for one in listed.get("Contents", [])]

    def clear(self) -> None:
        """Delete all objects."""
        for key in self.keys():
            self._s3.delete_object(Bucket=self._bucket, Key=key)
