import { testDpdkFrontEnd } from '../../support/dpdk-front-end.js';

testDpdkFrontEnd('worker');
