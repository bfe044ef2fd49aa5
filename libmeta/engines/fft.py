"""placeholder until stage 2"""


def missing():
    return "the fft engine is not built; use --engine torch"


def unfit(nets, device, dtype):
    return missing()
