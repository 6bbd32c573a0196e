"""The Open Inference Protocol (V2), as used by the clients of Triton, KServe and MLServer.

`inference` implements it independently of the transport; `rest` and `grpc` are the transports.

Sources: https://github.com/kserve/open-inference-protocol, and for the extensions
https://github.com/triton-inference-server/server/tree/main/docs/protocol.
"""
