from imaging.errors import PictureError
from serving.errors import STATUS, Refusal, RequestError

KINDS: list[type[Refusal]] = [*RequestError.__subclasses__(), *PictureError.__subclasses__()]


def test_every_error_has_a_code_and_a_status() -> None:
    codes = [kind.code for kind in KINDS]
    assert sorted(codes) == sorted(STATUS)
    assert all(400 <= status < 600 for status in STATUS.values())
    assert all(400 <= STATUS[kind.code] < 500 for kind in PictureError.__subclasses__())


def test_who_is_refused_for_now_is_told_when_to_come_again() -> None:
    for kind in RequestError.__subclasses__():
        assert ("Retry-After" in kind.headers) == (STATUS[kind.code] == 503)
