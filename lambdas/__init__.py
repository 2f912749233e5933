"""The pipeline's AWS Lambda functions, one package each."""
