"""The endpoints that boto3 would use, in every region: the same for an artefact's boto3 as for a complete one."""

import boto3

from remove_background.aws import Clients

session = boto3.Session("id", "secret", region_name="us-east-1")
clients = Clients(threads=1)
for used in (clients.s3, clients.dynamodb, clients.secrets, clients.sqs, clients.functions):
    service = used.meta.service_model.service_name
    for partition in session.get_available_partitions():
        for region in session.get_available_regions(service, partition):
            client = session.client(service, region)  # type: ignore[call-overload]
            print(service, region, client.meta.endpoint_url)
            if service == "s3":
                url = client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"})
                print(url.partition("?")[0])
