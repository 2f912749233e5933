"""Listens to a topic by a queue."""

import json
import uuid

import boto3


class Notifications:
    """What a topic says from now on.

    Args:
        topic_arn: The topic.
    """

    def __init__(self, topic_arn: str) -> None:
        self._sqs = boto3.client("sqs")
        self._sns = boto3.client("sns")
        self._queue = self._sqs.create_queue(QueueName=f"heard-{uuid.uuid4().hex[:12]}")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])
        self._subscription = self._sns.subscribe(
            TopicArn=topic_arn,
            Protocol="sqs",
            Endpoint=arn["Attributes"]["QueueArn"],
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]

    def heard(self) -> list[str]:
        """Returns the messages that came since the last call."""
        messages: list[str] = []
        while True:
            answer = self._sqs.receive_message(
                QueueUrl=self._queue, MaxNumberOfMessages=10, WaitTimeSeconds=1
            ).get("Messages", [])
            if not answer:
                return messages
            for message in answer:
                messages.append(json.loads(message["Body"])["Message"])
                self._sqs.delete_message(
                    QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"]
                )

    def close(self) -> None:
        """Stops to listen."""
        self._sns.unsubscribe(SubscriptionArn=self._subscription)
        self._sqs.delete_queue(QueueUrl=self._queue)
