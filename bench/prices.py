"""Assumed prices, in USD: AWS's list prices of us-east-1 for functions on arm64, without any free tier."""

# https://aws.amazon.com/lambda/pricing/ (Arm, first tier)
LAMBDA_GB_SECOND = 0.0000133334
LAMBDA_REQUEST = 0.20 / 1e6
# For each GB of /tmp above the first half.
LAMBDA_STORAGE_GB_SECOND = 0.0000000309
# The template's memory, and the share of a core that comes with it: one at 1,769 MB.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
LAMBDA_MB = 320
CORE_MB = 1769
LAMBDA_CORES = LAMBDA_MB / CORE_MB
LAMBDA_GB = LAMBDA_MB / 1024
# The naive handler holds a whole image and a whole result (see Memory), so it needs more.
NAIVE_MB = 512
NAIVE_GB = NAIVE_MB / 1024
LAMBDA_STORAGE_GB = (2048 - 512) / 1024  # of ours; the naive handler writes no file
# Bytes of the START, END and REPORT lines that Lambda itself logs for an invocation.
LAMBDA_LOG_BYTES = 350

# https://aws.amazon.com/sqs/pricing/ (standard queue; a batch of at most 64 KB is one request)
SQS_REQUEST = 0.40 / 1e6

# https://aws.amazon.com/dynamodb/pricing/on-demand/ (an item of at most 1 KB is one unit)
DYNAMODB_WRITE = 0.625 / 1e6
DYNAMODB_READ = 0.125 / 1e6

# https://aws.amazon.com/s3/pricing/ (S3 Standard; GET and HEAD cost the same)
S3_PUT = 0.005 / 1e3
S3_GET = 0.0004 / 1e3

# https://aws.amazon.com/secrets-manager/pricing/
SECRETS_CALL = 0.05 / 1e4

# https://aws.amazon.com/cloudwatch/pricing/ (ingestion, standard class)
LOG_BYTE = 0.50 / 1e9

# What is charged by the month, whatever is uploaded, for docs/operations.md.
# https://aws.amazon.com/secrets-manager/pricing/, https://aws.amazon.com/cloudwatch/pricing/
SECRET_MONTH = 0.40
ALARM_MONTH = 0.10
METRIC_MONTH = 0.30
DASHBOARD_MONTH = 3.00
POLLS_MONTH = 648_000  # of five pollers that find the queue empty, each for 20 seconds

# https://aws.amazon.com/s3/pricing/ (to the internet; the first 100 GB of a month are free)
TRAFFIC_GB = 0.09
