"""The deployment to AWS, with the SAM CLI."""
