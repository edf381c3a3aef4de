"""How a handler is left while its task goes on."""


class Unwind(BaseException):
    """Leaves the handler: its task waits for something, or is over already.

    Not an error, so `except Exception` lets it pass. Clean up in `finally`; catching it changes nothing, the
    task waits all the same.
    """
