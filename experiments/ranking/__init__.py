"""Do shared weights rank architectures as stand-alone training does?"""
