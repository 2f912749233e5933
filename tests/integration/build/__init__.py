"""The Build stage on real Spark, real Iceberg and real captures."""
