"""Labels any number of pictures, or evaluates a model on labelled ones, without a server.

`sources` splits a source into shards, which `files`, `tars`, `parquet` and `idx` read; `labelling`
turns a shard into rows; `results` writes rows to files; and `engines` processes many shards in
parallel. Pictures pass through the same `imaging` and `classifier` as in the service.
"""
