"""Labels any number of pictures, or evaluates a model on labelled ones, without a server.

A source becomes shards (`sources`; `files`, `tars`, `parquet` and `idx` read them), a shard becomes
rows (`labelling`), rows become files (`results`), and an engine (`engines`) has many shards done at
once. Every file goes through `imaging`, and all through `classifier`, as what is served does.
"""
