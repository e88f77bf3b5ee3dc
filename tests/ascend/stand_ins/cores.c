/* How many host cores MindSpore believes to have: SSD_STAND_IN_CORES, else 24. Loaded with LD_PRELOAD. */
#include <stdlib.h>

static int count(void) {
  const char *text = getenv("SSD_STAND_IN_CORES");
  return text ? atoi(text) : 24;
}

unsigned _ZNSt6thread20hardware_concurrencyEv(void) { return (unsigned)count(); } /* std::thread's own question */
int get_nprocs(void) { return count(); }
int get_nprocs_conf(void) { return count(); }
