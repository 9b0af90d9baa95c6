"""Reads across accounts, payments and requests: does it add up, what happened when, what did a day come to.

Moves no credit.
"""
