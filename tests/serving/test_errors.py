from serving.errors import RequestError


def test_every_error_says_what_it_is() -> None:
    kinds = RequestError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all(400 <= kind.status < 600 for kind in kinds)


def test_who_is_refused_for_now_is_told_when_to_come_again() -> None:
    for kind in RequestError.__subclasses__():
        assert ("Retry-After" in kind.headers) == (kind.status == 503)
