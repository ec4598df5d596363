"""What goes to AWS, and the local stack."""
