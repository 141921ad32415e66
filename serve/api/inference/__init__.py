"""The open inference protocol (KServe v2, Triton) over HTTP and gRPC. Begin with `models`, then `http` or `grpc`."""

"""The open inference protocol (KServe v2, Triton) over HTTP and gRPC. Begin with `models`, then `http` or `grpc`."""
