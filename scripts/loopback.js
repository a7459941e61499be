// Makes every server of the Node process that requires this file listen on 127.0.0.1 alone:
// kinesis-local binds all interfaces and has no option against it.
'use strict';

const net = require('net');

const listen = net.Server.prototype.listen;

net.Server.prototype.listen = function listenOnLoopback(...args) {
  const [first, second] = args;
  if (first !== null && typeof first === 'object' && 'port' in first) {
    args[0] = { ...first, host: '127.0.0.1' };
  } else if (typeof first === 'number') {
    args.splice(1, typeof second === 'string' ? 1 : 0, '127.0.0.1');
  }
  return listen.apply(this, args);
};
