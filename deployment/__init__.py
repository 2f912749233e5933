"""What a deployment to AWS needs beside `sam build` and `sam deploy`."""
