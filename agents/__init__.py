"""Behaviour: prosumers, operators of distribution networks, and the coordinating operator."""
