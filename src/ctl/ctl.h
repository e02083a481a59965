/* `puerta ctl COMMAND`: what an operator asks of a running puerta, over its admin server. */
#ifndef PT_CTL_CTL_H
#define PT_CTL_CTL_H

/* argv[0] is "ctl". The exit code: 0 done; 1 refused, or nobody answers, it has been said why; 2 wrong arguments. */
int pt_ctl_main(int argc, char **argv);

#endif
