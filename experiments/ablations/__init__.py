"""What drives how precisely and how completely routes find what is planted, and how that develops over training?"""
