"""The local stack: tools, processes, local AWS, sandbox, deployment."""
