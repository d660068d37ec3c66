"""The one exception that a request may end with, and its code on either protocol.

TensorFlow Serving answers with the canonical status codes; `HTTP_STATUS` is its table from these names to HTTP
(`ToHTTPStatusCode` in http_server.cc). The names are those of `grpc.StatusCode`, so gRPC needs no table.
Of several codes with one HTTP status the most frequent comes first: the client reads the table backwards.
"""

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class RequestError(Exception):
    """A request that cannot be answered, with the status code that TensorFlow Serving would give.

    Args:
        code: str, a key of `HTTP_STATUS`, such as `"INVALID_ARGUMENT"`.
        message: str, the text that the caller reads.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> RequestError:
    """Returns the error for a wrong request, by far the most frequent code."""
    return RequestError("INVALID_ARGUMENT", message)
