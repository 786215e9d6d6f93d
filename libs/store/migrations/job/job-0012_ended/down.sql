DROP TABLE usage_spans;
