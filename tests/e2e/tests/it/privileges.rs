//! Least privilege: each role may make exactly the calls that it needs.
//!
//! The table names every call and the roles that may make it. All other roles must be denied with an authorization
//! error. Calls that no role may make are made by the administrator, to show that they are valid.

use std::{
    io::Write,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use e2e::{Stack, wait_until};
use reqwest::Url;
use serde_json::{Value, json};
use shared::clock::Clock;

const STATUS: &str = "STATUS_ROLE";
const POLLER: &str = "POLLER_ROLE";
const RECHECK: &str = "RECHECK_ROLE";
const MACHINE: &str = "POLL_MACHINE_ROLE";
const START: &str = "START_POLL_ROLE";
const TICK: &str = "RECHECK_SCHEDULE_ROLE";
const NOTIFY: &str = "NOTIFY_ROLE";
/// On a stack whose page shows no cards.
const PAGE: &str = "PAGE_ROLE";
const ROLES: [&str; 8] = [STATUS, POLLER, RECHECK, MACHINE, START, TICK, NOTIFY, PAGE];

/// The callers for which a call must succeed.
#[derive(Clone, Copy, Debug)]
enum Allowed {
    /// These roles. All others are denied.
    Roles(&'static [&'static str]),
    /// The administrator only. Its success shows that the call is valid.
    Administrator,
    /// No role, and the administrator does not try: the call would break the stack.
    Untested,
}
use Allowed::{Administrator, Roles, Untested};

const FUNCTIONS: Allowed = Roles(&[STATUS, POLLER, RECHECK]);

/// Operation as `service:Operation`, parameters, and the callers allowed.
type Call = (&'static str, Value, Allowed);

/// Resources used in the calls.
struct Names {
    order: Value,
    ciphertext: String,
    other_key: String,
    stream: String,
}

/// Name of a table, secret, queue, bus and log group that are not the stack's.
const OTHER: &str = "privileges-other";
const LETTERS: [&str; 4] =
    ["POLLER_DEAD_LETTERS", "RULE_DEAD_LETTERS", "RECHECK_FAILURES", "WEBHOOK_DEAD_LETTERS"];
const PROBE: &str = "probe message of the privileges test";

fn table(stack: &Stack, names: &Names) -> Vec<Call> {
    let key = json!({"pk": {"S": "PRIVILEGES"}, "sk": {"S": "PROBE"}});
    let of_due = json!({"TableName": stack.env("ORDERS_TABLE"), "IndexName": "due", "KeyConditionExpression": "due_shard = :s",
        "ExpressionAttributeValues": {":s": {"S": "0"}}});
    let of_feed = json!({"TableName": stack.env("ORDERS_TABLE"), "IndexName": "feed", "KeyConditionExpression": "feed = :f",
        "ExpressionAttributeValues": {":f": {"S": "privileges"}}});
    let of_phases = json!({"TableName": stack.env("ORDERS_TABLE"), "IndexName": "phases", "KeyConditionExpression": "phase = :p",
        "ExpressionAttributeValues": {":p": {"S": "privileges"}}});
    let of_key = |table: &str| json!({"TableName": table, "Key": key});
    let put = |table: &str| json!({"TableName": table, "Item": key});
    let query = |table: &str| {
        json!({"TableName": table, "KeyConditionExpression": "pk = :p",
            "ExpressionAttributeValues": {":p": {"S": "PRIVILEGES"}}})
    };
    let update = |table: &str| {
        json!({"TableName": table, "Key": key, "UpdateExpression": "SET probed = :p",
            "ExpressionAttributeValues": {":p": {"BOOL": true}}})
    };
    let orders = stack.env("ORDERS_TABLE");
    let encrypt = |key: &str| json!({"KeyId": key, "Plaintext": "cHJvYmU=", "EncryptionContext": {"product": "internet", "id": "1"}});
    let card_key = stack.env("CARD_KEY_ID");
    let secret = |id: &str| json!({"SecretId": id});
    let event = |bus: &str| json!({"Entries": [{"EventBusName": bus, "Source": "test.privileges", "DetailType": "Probe", "Detail": "{}"}]});
    let bus = stack.env("EVENT_BUS");
    let message =
        |queue: &str| json!({"QueueUrl": queue, "MessageBody": json!({"probe": PROBE}).to_string()});
    let receive = |queue: &str| json!({"QueueUrl": queue, "VisibilityTimeout": 0});
    let letters = LETTERS.map(|name| stack.env(name));
    let webhooks = stack.env("WEBHOOK_QUEUE");
    let other_queue = letters[0].rsplit_once('/').map(|(start, _)| format!("{start}/{OTHER}")).unwrap();
    let machine = json!({"stateMachineArn": stack.env("STATE_MACHINE_ARN")});
    let start = json!({"stateMachineArn": stack.env("STATE_MACHINE_ARN"), "input": names.order.to_string()});
    let invoke = |function: &str, payload: &Value| json!({"FunctionName": format!("{}:live", stack.env(function)), "Payload": payload});
    let function = |name: &str| json!({"FunctionName": stack.env(name), "Payload": {}});
    let health = serde_json::from_str(include_str!("../../../../events/http/health.json")).unwrap();
    let group = |group: &str| json!({"logGroupName": stack.env(group)});
    let stream = json!({"logGroupName": OTHER, "logStreamName": names.stream});
    let lines = json!({"logGroupName": OTHER, "logStreamName": names.stream,
        "logEvents": [{"timestamp": Clock::System.now().as_millisecond(), "message": "probe"}]});
    let status_role = stack.env(STATUS);
    let role_name = status_role.rsplit('/').next().unwrap();

    vec![
        // DynamoDB: the orders table only. No role deletes, and items are read by key or by an index only.
        ("dynamodb:GetItem", of_key(orders), Roles(&[STATUS, POLLER, RECHECK, PAGE])),
        ("dynamodb:PutItem", put(orders), FUNCTIONS),
        ("dynamodb:UpdateItem", update(orders), Roles(&[STATUS, POLLER, RECHECK, NOTIFY])),
        ("dynamodb:Query", query(orders), FUNCTIONS),
        ("dynamodb:TransactWriteItems", json!({"TransactItems": [{"Put": put(orders)}]}), FUNCTIONS),
        ("dynamodb:Query", of_due, FUNCTIONS),
        ("dynamodb:Query", of_feed, Roles(&[STATUS, RECHECK])),
        ("dynamodb:Query", of_phases, Roles(&[STATUS])),
        (
            "dynamodb:TransactWriteItems",
            json!({"TransactItems": [{"Delete": of_key(orders)}]}),
            Administrator,
        ),
        ("dynamodb:DeleteItem", of_key(orders), Administrator),
        ("dynamodb:Scan", json!({"TableName": orders}), Administrator),
        ("dynamodb:BatchGetItem", json!({"RequestItems": {orders: {"Keys": [key]}}}), FUNCTIONS),
        ("dynamodb:BatchGetItem", json!({"RequestItems": {OTHER: {"Keys": [key]}}}), Administrator),
        (
            "dynamodb:BatchWriteItem",
            json!({"RequestItems": {orders: [{"DeleteRequest": {"Key": key}}]}}),
            Administrator,
        ),
        ("dynamodb:DescribeTable", json!({"TableName": orders}), Administrator),
        ("dynamodb:ListTables", json!({}), Administrator),
        ("dynamodb:UpdateTable", json!({"TableName": orders, "BillingMode": "PAY_PER_REQUEST"}), Untested),
        ("dynamodb:DeleteTable", json!({"TableName": orders}), Untested),
        ("dynamodb:GetItem", of_key(OTHER), Administrator),
        ("dynamodb:PutItem", put(OTHER), Administrator),
        ("dynamodb:UpdateItem", update(OTHER), Administrator),
        ("dynamodb:Query", query(OTHER), Administrator),
        ("dynamodb:TransactWriteItems", json!({"TransactItems": [{"Put": put(OTHER)}]}), Administrator),
        // KMS: all functions encrypt card codes; only `status` decrypts.
        ("kms:Encrypt", encrypt(card_key), FUNCTIONS),
        (
            "kms:Decrypt",
            json!({"CiphertextBlob": names.ciphertext, "EncryptionContext": {"product": "internet", "id": "1"}}),
            Roles(&[STATUS]),
        ),
        ("kms:Encrypt", encrypt(&names.other_key), Administrator),
        ("kms:GenerateDataKey", json!({"KeyId": card_key, "KeySpec": "AES_256"}), Administrator),
        ("kms:DescribeKey", json!({"KeyId": card_key}), Administrator),
        ("kms:GetKeyPolicy", json!({"KeyId": card_key, "PolicyName": "default"}), Administrator),
        ("kms:DisableKey", json!({"KeyId": card_key}), Untested),
        ("kms:ScheduleKeyDeletion", json!({"KeyId": card_key, "PendingWindowInDays": 7}), Untested),
        // The secret: functions read it and none changes it.
        ("secretsmanager:GetSecretValue", secret(stack.env("SECRET_ID")), FUNCTIONS),
        ("secretsmanager:GetSecretValue", secret(stack.env("TOKENS_SECRET_ID")), Roles(&[STATUS])),
        ("secretsmanager:GetSecretValue", secret(stack.env("WEBHOOK_SECRET_ID")), Roles(&[NOTIFY])),
        ("secretsmanager:GetSecretValue", secret(stack.env("PAGE_SECRET_ID")), Roles(&[STATUS, PAGE])),
        ("secretsmanager:GetSecretValue", secret(OTHER), Administrator),
        ("secretsmanager:DescribeSecret", secret(stack.env("SECRET_ID")), Administrator),
        ("secretsmanager:ListSecrets", json!({}), Administrator),
        (
            "secretsmanager:PutSecretValue",
            json!({"SecretId": stack.env("SECRET_ID"), "SecretString": "{}"}),
            Untested,
        ),
        ("secretsmanager:DeleteSecret", secret(stack.env("SECRET_ID")), Untested),
        // Events: only to the stack's own bus. No role changes rules.
        ("events:PutEvents", event(bus), FUNCTIONS),
        ("events:PutEvents", event(OTHER), Administrator),
        ("events:PutEvents", event("default"), Administrator),
        ("events:ListRules", json!({"EventBusName": bus}), Administrator),
        ("events:PutRule", json!({"Name": OTHER, "EventBusName": bus, "EventPattern": "{}"}), Untested),
        ("events:DeleteEventBus", json!({"Name": bus}), Untested),
        // Dead letters: each writer has one queue. No role reads them.
        ("sqs:SendMessage", message(letters[0]), Roles(&[MACHINE])),
        ("sqs:SendMessage", message(letters[1]), Roles(&[TICK])),
        ("sqs:SendMessage", message(letters[2]), Roles(&[RECHECK])),
        ("sqs:SendMessage", message(letters[3]), Roles(&[NOTIFY])),
        ("sqs:ReceiveMessage", receive(webhooks), Roles(&[NOTIFY])),
        ("sqs:GetQueueAttributes", json!({"QueueUrl": webhooks}), Roles(&[NOTIFY])),
        ("sqs:PurgeQueue", json!({"QueueUrl": webhooks}), Untested),
        ("sqs:SendMessage", message(&other_queue), Administrator),
        ("sqs:ReceiveMessage", receive(letters[0]), Administrator),
        ("sqs:ReceiveMessage", receive(letters[1]), Administrator),
        ("sqs:ReceiveMessage", receive(letters[2]), Administrator),
        ("sqs:ReceiveMessage", receive(letters[3]), Administrator),
        ("sqs:PurgeQueue", json!({"QueueUrl": letters[0]}), Untested),
        ("sqs:DeleteQueue", json!({"QueueUrl": letters[0]}), Untested),
        // The state machine: only rules start it.
        ("states:StartExecution", start, Roles(&[START])),
        ("states:DescribeStateMachine", machine.clone(), Administrator),
        ("states:UpdateStateMachine", machine.clone(), Untested),
        ("states:DeleteStateMachine", machine, Untested),
        // Functions: only their caller invokes them. API Gateway has its permission from the function's own policy.
        ("lambda:Invoke", invoke("POLLER_FUNCTION", &names.order), Roles(&[MACHINE])),
        ("lambda:Invoke", invoke("RECHECK_FUNCTION", &json!({})), Roles(&[TICK])),
        ("lambda:Invoke", invoke("STATUS_FUNCTION", &health), Administrator),
        ("lambda:GetFunction", function("STATUS_FUNCTION"), Administrator),
        ("lambda:UpdateFunctionConfiguration", function("STATUS_FUNCTION"), Untested),
        ("lambda:DeleteFunction", function("RECHECK_FUNCTION"), Untested),
        // Logs: no role reads them or writes to another function's group. Writing to the own group is not tested: the
        // local AWS compares the group's ARN without its `:*` suffix, and writes the logs itself.
        ("logs:CreateLogStream", stream.clone(), Administrator),
        ("logs:PutLogEvents", lines, Administrator),
        ("logs:GetLogEvents", stream, Administrator),
        ("logs:DescribeLogGroups", json!({}), Roles(&[MACHINE])),
        ("logs:FilterLogEvents", group("STATUS_LOGS"), Administrator),
        ("logs:DeleteLogGroup", group("STATUS_LOGS"), Untested),
        // IAM: no role extends its own or other permissions.
        ("iam:ListRoles", json!({}), Administrator),
        ("iam:GetRole", json!({"RoleName": role_name}), Administrator),
        (
            "iam:PutRolePolicy",
            json!({"RoleName": role_name, "PolicyName": "more", "PolicyDocument": r#"{"Version":"2012-10-17","Statement":[]}"#}),
            Untested,
        ),
        ("iam:CreateUser", json!({"UserName": OTHER}), Untested),
        ("sts:AssumeRole", assume(status_role), Administrator),
        ("cloudformation:DescribeStacks", json!({}), Administrator),
        ("cloudformation:DeleteStack", json!({"StackName": "topup-tracker"}), Untested),
    ]
}

#[tokio::test]
async fn each_role_has_exactly_the_permissions_it_needs() {
    let stack = Stack::fast();
    let administrator = Caller::administrator(&stack);
    let names = prepare(&administrator).await;
    let mut callers = Vec::new();
    for role in ROLES {
        callers.push((role, administrator.assume(stack.env(role)).await));
    }
    let (mut denied, mut allowed, mut wrong) = (0, 0, Vec::new());
    for (operation, parameters, expected) in table(&stack, &names) {
        let of_roles = if let Roles(roles) = expected { roles } else { &[] };
        for (role, caller) in &callers {
            let answer = caller.call(operation, &parameters).await;
            let may = of_roles.contains(role);
            match (may, answer.is_denied(operation)) {
                (true, false) if answer.status == 200 => allowed += 1,
                (false, true) => denied += 1,
                _ => wrong.push(format!("{role}, may: {may}: {operation} {parameters}: {answer:?}")),
            }
        }
        if matches!(expected, Administrator) {
            let answer = administrator.call(operation, &parameters).await;
            if answer.status != 200 {
                wrong.push(format!("not valid: {operation} {parameters}: {answer:?}"));
            }
        }
    }
    remove_probes(&administrator).await;
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    // Directly to standard error: the test harness hides the output of tests that pass.
    writeln!(std::io::stderr(), "{denied} calls denied, {allowed} allowed, as {} roles", ROLES.len())
        .unwrap();
    assert!(denied > 6 * allowed && allowed >= 30, "{denied} denied, {allowed} allowed");
}

/// Creates the resources of the table. Those that are not the stack's are created once.
async fn prepare(administrator: &Caller<'_>) -> Names {
    let stack = administrator.stack;
    let of_table = json!({"TableName": OTHER, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]});
    for (operation, parameters) in [
        ("dynamodb:CreateTable", of_table),
        ("secretsmanager:CreateSecret", json!({"Name": OTHER, "SecretString": "nothing"})),
        ("sqs:CreateQueue", json!({"QueueName": OTHER})),
        ("events:CreateEventBus", json!({"Name": OTHER})),
        ("logs:CreateLogGroup", json!({"logGroupName": OTHER})),
    ] {
        let answer = administrator.call(operation, &parameters).await;
        assert!(answer.status == 200 || answer.text.contains("xist"), "{operation}: {answer:?}");
    }
    let other_key = administrator.call("kms:CreateKey", &json!({})).await.json();
    let sealed = administrator
        .call(
            "kms:Encrypt",
            &json!({"KeyId": stack.env("CARD_KEY_ID"), "Plaintext": "cHJvYmU=", "EncryptionContext": {"product": "internet", "id": "1"}}),
        )
        .await
        .json();
    Names {
        order: json!({"product": "mobile", "id": stack.sandbox.send_mobile("0770000009").await}),
        ciphertext: sealed["CiphertextBlob"].as_str().unwrap().to_owned(),
        other_key: other_key["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned(),
        stream: format!("privileges-{}", Clock::System.now().as_millisecond()),
    }
}

/// Deletes the messages that permitted calls have put into the queues.
async fn remove_probes(administrator: &Caller<'_>) {
    let stack = administrator.stack;
    for queue in LETTERS {
        let queue = stack.env(queue);
        wait_until("the probe in its queue", Duration::from_secs(30), || async {
            let check = json!({"QueueUrl": queue, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0});
            let found = administrator.call("sqs:ReceiveMessage", &check).await.json();
            let messages = found["Messages"].as_array().cloned().unwrap_or_default();
            let probe = messages
                .iter()
                .find(|message| message["Body"].as_str().is_some_and(|body| body.contains(PROBE)))?;
            let remove = json!({"QueueUrl": queue, "ReceiptHandle": probe["ReceiptHandle"]});
            (administrator.call("sqs:DeleteMessage", &remove).await.status == 200).then_some(())
        })
        .await;
    }
}

fn assume(role: &str) -> Value {
    json!({"RoleArn": role, "RoleSessionName": "privileges"})
}

/// Credentials to sign calls with. The calls are signed here, without an SDK: most of these operations are in no SDK
/// that the project depends on.
struct Caller<'a> {
    stack: &'a Stack,
    credentials: Credentials,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Whether the call was denied by an authorization error.
    fn is_denied(&self, operation: &str) -> bool {
        let (service, _) = operation.split_once(':').unwrap();
        matches!(self.status, 400 | 403)
            && self.text.contains("AccessDenied")
            && self.text.contains(&format!("is not authorized to perform: {service}:"))
    }
}

impl<'a> Caller<'a> {
    fn administrator(stack: &'a Stack) -> Self {
        let [key, secret] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| stack.env(name));
        Self { stack, credentials: Credentials::new(key, secret, None, None, "stack.env") }
    }

    /// Credentials of the role, assumed as its service would.
    async fn assume(&self, role: &str) -> Self {
        // AWS's services name their account, which the trust policy demands. The administrator cannot.
        let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"Service": "lambda.amazonaws.com"}}]});
        let opened =
            json!({"RoleName": role.rsplit('/').next().unwrap(), "PolicyDocument": trust.to_string()});
        let answer = self.call("iam:UpdateAssumeRolePolicy", &opened).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = self.call("sts:AssumeRole", &assume(role)).await;
        let part = |name: &str| {
            let start = answer.text.split_once(&format!("<{name}>")).map(|(_, rest)| rest);
            start.and_then(|rest| rest.split('<').next()).unwrap_or_else(|| panic!("{answer:?}")).to_owned()
        };
        let token = Some(part("SessionToken"));
        let credentials = Credentials::new(part("AccessKeyId"), part("SecretAccessKey"), token, None, "role");
        Self { stack: self.stack, credentials }
    }

    async fn call(&self, operation: &str, parameters: &Value) -> Answer {
        let mut request = request(self.stack.env("AWS_ENDPOINT_URL"), operation, parameters);
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.stack.env("AWS_REGION"))
            .name(operation.split(':').next().unwrap())
            .time(SystemTime::from(Clock::System.now()))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let body = SignableBody::Bytes(request.body().as_bytes());
        let signable =
            SignableRequest::new(request.method().as_str(), request.uri().to_string(), headers, body)
                .unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        instructions.apply_to_request_http1x(&mut request);
        let answer = e2e::loopback::client().execute(request.try_into().unwrap()).await.unwrap();
        Answer { status: answer.status().as_u16(), text: answer.text().await.unwrap() }
    }
}

/// The call in its service's protocol.
fn request(endpoint: &str, operation: &str, parameters: &Value) -> http::Request<String> {
    let (service, name) = operation.split_once(':').unwrap();
    let json = |version: &str, target: &str| {
        http::Request::post(endpoint)
            .header("content-type", format!("application/x-amz-json-{version}"))
            .header("x-amz-target", format!("{target}.{name}"))
            .body(parameters.to_string())
    };
    let form = |version: &str| {
        let parameters = parameters
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
        let fields = [("Action", name), ("Version", version)].into_iter().chain(parameters);
        let query = Url::parse_with_params(endpoint, fields).unwrap().query().unwrap().to_owned();
        http::Request::post(endpoint).header("content-type", "application/x-www-form-urlencoded").body(query)
    };
    let request = match service {
        "dynamodb" => json("1.0", "DynamoDB_20120810"),
        "kms" => json("1.1", "TrentService"),
        "secretsmanager" => json("1.1", "secretsmanager"),
        "events" => json("1.1", "AWSEvents"),
        "sqs" => json("1.0", "AmazonSQS"),
        "states" => json("1.0", "AWSStepFunctions"),
        "logs" => json("1.1", "Logs_20140328"),
        "iam" => form("2010-05-08"),
        "sts" => form("2011-06-15"),
        "cloudformation" => form("2010-05-15"),
        _ => {
            let (method, end) = match name {
                "Invoke" => ("POST", "/invocations"),
                "GetFunction" => ("GET", ""),
                "UpdateFunctionConfiguration" => ("PUT", "/configuration"),
                "DeleteFunction" => ("DELETE", ""),
                _ => panic!("no such operation: {operation}"),
            };
            let function = parameters["FunctionName"].as_str().unwrap();
            let url = format!("{endpoint}/2015-03-31/functions/{function}{end}");
            http::Request::builder().method(method).uri(url).body(parameters["Payload"].to_string())
        }
    };
    request.unwrap()
}
