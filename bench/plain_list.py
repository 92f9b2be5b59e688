"""Receives each letter of a queue and gives all of them back, with boto3 alone: what `letters list` takes at least."""

import sys

import boto3

BATCH = 10


def main(queue_url: str) -> None:
    sqs = boto3.client("sqs")
    receipts: list[str] = []
    while messages := sqs.receive_message(
        QueueUrl=queue_url,
        MaxNumberOfMessages=BATCH,
        VisibilityTimeout=900,
        WaitTimeSeconds=1,
        MessageAttributeNames=["All"],
        MessageSystemAttributeNames=["SentTimestamp"],
    ).get("Messages"):
        receipts += [message["ReceiptHandle"] for message in messages]
    for start in range(0, len(receipts), BATCH):
        sqs.change_message_visibility_batch(
            QueueUrl=queue_url,
            Entries=[
                {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                for number, receipt in enumerate(receipts[start : start + BATCH])
            ],
        )


if __name__ == "__main__":
    main(sys.argv[1])
