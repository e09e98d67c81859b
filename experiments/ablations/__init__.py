"""Which settings decide how precisely and completely routers find the planted chunks, and when in training?"""
