"""Django's own checks of the admin and everything else."""

from django.core.checks import WARNING, run_checks


def test_the_system_checks_find_nothing() -> None:
    assert [message for message in run_checks() if message.level >= WARNING] == []
