"""Django's hash of passwords with one round; what it hashes, a server with the usual settings verifies."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickHasher(PBKDF2PasswordHasher):
    iterations = 1
