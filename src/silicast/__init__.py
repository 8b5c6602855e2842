"""Silicast: how will this model run on that chip, in what deployment, at what cost, and how sure are we?"""
