"""`manage.py verify`: tries the running platform with an account of its own, from a payment to the books."""
