"""The Build stage without a JVM: its arguments, its declarations, what it has to do."""
