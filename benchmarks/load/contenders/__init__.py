"""The contenders: one program each."""
