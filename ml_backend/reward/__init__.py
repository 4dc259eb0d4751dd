"""The reward model: features of frames, actions and state in, one reward per trajectory out.

Bradley-Terry (Bradley & Terry 1952) over pairs, with ties (Davidson 1970) and slips. Arrays in, a model out.
"""
