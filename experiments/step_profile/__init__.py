"""Where does the time of a training step go, by kind of kernel?"""
