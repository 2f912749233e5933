"""The calls of the stack's roles, judged by the policies of the deployed template."""
