"""
The sections of the configuration, as frozen dataclasses.

- ``shapes``: values that several have.
- ``identity``, ``listening``, ``finding``, ``traversal``, ``sessions``, ``protection``, ``status``: the sections.
"""
